/** No trace, no program run, no canary touched. */

import { objects } from "./objects.js";
import { playAll } from "./playing.js";

playAll("objects", objects);
