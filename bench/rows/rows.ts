/** Owns the list of rows, in the order in which they run. */
import type { Row } from "../harness/row.js";
import { burst } from "./burst.js";
import { cold } from "./cold.js";
import { crowded } from "./crowded.js";
import { delta } from "./delta.js";
import { emptyCall } from "./empty-call.js";
import { heartbeats } from "./heartbeats.js";
import { parked } from "./parked.js";
import { release } from "./release.js";
import { salvage } from "./salvage.js";
import { verification } from "./verification.js";
import { warm } from "./warm.js";
import { watchers } from "./watchers.js";

export const rows: readonly Row[] = [
  warm,
  delta,
  parked,
  release,
  salvage,
  verification,
  cold,
  burst,
  heartbeats,
  emptyCall,
  watchers,
  crowded,
];
