/** Owns the list of rows, in the order in which they run. */
import type { Row } from "../harness/row.js";
import { cold } from "./cold.js";
import { delta } from "./delta.js";
import { release } from "./release.js";
import { warm } from "./warm.js";

export const rows: readonly Row[] = [warm, delta, release, cold];
