/** Owns how many entries a page has. */

const defaultPageSize = 100;
const maxPageSize = 1000;

/** The page size that is granted for what was asked; 0 asks for the default. */
export function grantPageSize(asked: number): number {
  return asked === 0 ? defaultPageSize : Math.min(asked, maxPageSize);
}
