/** No trace, no program run, no canary touched. */
import { playAll } from "./playing.js";
import { processes } from "./processes.js";

playAll("processes", processes);
