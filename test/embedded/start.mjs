// A process that uses the embedded Postgres until it is told to stop (a line on standard input) or killed.
// Arguments: the built module, the data directory. Prints one JSON line per event.
import { createInterface } from "node:readline";

const [module, dataDir] = process.argv.slice(1);
const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const { startEmbeddedPostgres } = await import(module);
try {
  const log = (_fields, message) => print({ log: message });
  const embedded = await startEmbeddedPostgres({ dataDir, log, fsync: false });
  print({ ready: embedded.connection });
  for await (const _line of createInterface({ input: process.stdin })) {
    await embedded.stop();
    break;
  }
  process.exit(0);
} catch (error) {
  print({ error: error.message });
  process.exit(1);
}
