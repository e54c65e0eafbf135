/** Owns how sizes are shown to people. */

/** With three digits at most, as people read them. */
export function sizeText(bytes: bigint): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let number = Number(bytes);
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit++;
  }
  return `${number >= 100 || unit === 0 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}
