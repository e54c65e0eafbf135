// Writes files into a workspace and scans it, over and over, until it is killed. What it records goes into a log, a line for each batch.
import { appendFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const [directory, baseCommit, agent, log, round] = process.argv.slice(2);
const { scan } = await import(pathToFileURL(resolve("dist/src/client/scan.js")).href);

for (let turn = 0; ; turn++) {
  for (let file = 0; file < 150; file++)
    writeFileSync(join(directory, `${agent}-${round}-${turn}-${file}.txt`), `${turn}\n`);
  process.stdout.write("written\n");
  await scan({ sessionId: "n1", directory, baseCommit }, { agent }, async (batch) => {
    // as long as a server takes
    await pause(Math.random() * 60);
    appendFileSync(log, `${JSON.stringify(batch)}\n`);
    return [];
  });
}
