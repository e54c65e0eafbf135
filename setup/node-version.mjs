// Owns: the first thing that runs. It is written so that every Node that knows modules can read it, because its only
// purpose is to tell those that are too old.
const [major, minor] = process.versions.node.split(".").map(Number);
const supported = major >= 24 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);

if (!supported) {
  console.error(
    `leasehold: Node ${process.version} is not supported: install Node 20.19 or later, 22.12 or later, or 24.`,
  );
  process.exit(1);
}
