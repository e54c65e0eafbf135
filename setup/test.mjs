// Owns: `npm test`: makes the checkout ready and runs the tests. Arguments go to vitest.
import "./node-version.mjs";

const { prepare } = await import("./prepare.mjs");
const { replaceBy } = await import("./command.mjs");
const { root } = await import("./paths.mjs");
await prepare();
await replaceBy(process.execPath, [root("node_modules/vitest/vitest.mjs"), "run", ...process.argv.slice(2)]);
