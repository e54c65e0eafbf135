/** No trace, no program run, no canary touched. */
import { playAll } from "./playing.js";
import { state } from "./state.js";

playAll("state", state);
