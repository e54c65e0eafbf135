/** No trace, no program run, no canary touched. */
import { playAll } from "./playing.js";
import { settings } from "./settings.js";

playAll("settings", settings);
