#!/usr/bin/env node
/** Owns the entry of the command line. */
import { runProgram } from "./cli/program.js";

process.exitCode = await runProgram(process.argv);
