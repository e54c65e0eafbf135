/** No trace, no program run, no canary touched. */

import { files } from "./files.js";
import { playAll } from "./playing.js";

playAll("files", files);
