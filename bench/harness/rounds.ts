/** Owns how long a row goes on: so many rounds, but no longer than its time, so that a slow machine ends too. */

/** At least this many rounds, however long they take. */
const least = 2;

/** Numbers from 0. No round begins once the time is over. */
export function* rounds(most: number, seconds: number): Generator<number> {
  const end = performance.now() + seconds * 1_000;
  for (let round = 0; round < most && (round < least || performance.now() < end); round++) yield round;
}
