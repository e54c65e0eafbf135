// Owns: `npm start`: makes the checkout ready and becomes the server. Arguments go to `leasehold serve`.
//
// 1. The server runs in this very process: signals, exit status and a kill reach it without a relay.
import "./node-version.mjs";

const { prepare } = await import("./prepare.mjs");
const { built } = await import("./paths.mjs");
await prepare();
const main = built("src/main.js");
process.argv = [process.execPath, main, "serve", ...process.argv.slice(2)];
await import(main);
