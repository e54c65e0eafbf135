// Owns: `npm start`: makes the checkout ready and becomes the server. Arguments go to `leasehold serve`.
//
// 1. The server runs in this very process: signals, exit status and a kill reach it without a relay.
// 2. One Ctrl-C is one signal. The terminal sends it to npm and to us, and npm hands it on: the second of the two
//    would tell the server to stop at once instead of letting calls finish.
import "./node-version.mjs";

const { prepare } = await import("./prepare.mjs");
const { built } = await import("./paths.mjs");
await prepare();
const main = built("src/main.js");
dropEchoes();
process.argv = [process.execPath, main, "serve", ...process.argv.slice(2)];
await import(main);

function dropEchoes() {
  const echoMs = 500;
  const lastAt = new Map();
  const signals = /** @type {any} */ (process);
  const { emit } = signals;
  signals.emit = (event, ...rest) => {
    if (event === "SIGINT" || event === "SIGTERM") {
      const now = performance.now();
      const isEcho = now - (lastAt.get(event) ?? Number.NEGATIVE_INFINITY) < echoMs;
      lastAt.set(event, now);
      if (isEcho) {
        return true;
      }
    }
    return emit.call(process, event, ...rest);
  };
}
