// Owns: `npm run bench`: makes the checkout ready and runs the benchmark. Arguments go to it.
import "./node-version.mjs";

const { prepare } = await import("./prepare.mjs");
const { replaceBy } = await import("./command.mjs");
const { built } = await import("./paths.mjs");
await prepare();
await replaceBy(process.execPath, [built("bench/main.js"), ...process.argv.slice(2)]);
