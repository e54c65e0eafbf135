/**
 * Owns what is known of a workspace after it was compared with what a fresh clone would be.
 */

/** How many findings are told at most. */
export const mostFindings = 20;

/**
 * `findings`: in words, with paths relative to the workspace; at most `mostFindings`.
 * `mirrorDamaged`: objects that the workspace shares with its mirror have been changed, so the mirror is to be made anew.
 */
export type Verification =
  | { readonly kind: "pristine"; readonly files: number }
  | {
      readonly kind: "differs";
      readonly findings: readonly string[];
      readonly files: number;
      readonly mirrorDamaged?: true;
    };
