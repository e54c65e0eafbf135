/**
 * Owns the memory of what a function of a text has answered.
 *
 * Invariants:
 * 1. It is bounded, since peers choose the texts: once `most` are known, all are forgotten.
 */
export function remembered<T>(most: number, answer: (text: string) => T): (text: string) => T {
  const known = new Map<string, { readonly answer: T }>();
  return (text) => {
    const found = known.get(text);
    if (found) return found.answer;
    const made = { answer: answer(text) };
    if (known.size >= most) known.clear();
    known.set(text, made);
    return made.answer;
  };
}
