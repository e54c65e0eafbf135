/** Owns what a verification found to differ. */
import { mostFindings } from "../../../domain/verification.js";

/** Counts what it does not keep. */
export class Findings {
  readonly told: string[] = [];
  private untold = 0;

  add(finding: string): void {
    if (this.told.length < mostFindings - 1) this.told.push(finding);
    else this.untold += 1;
  }

  get all(): readonly string[] {
    return this.untold === 0 ? this.told : [...this.told, `${this.untold} more`];
  }
}
