/** Owns the settings of the sweep; part of the one table of settings.ts. */
import { setting, span, spanOf } from "./setting.js";

export const sweeperSettings = {
  sweeperIntervalMs: setting({
    key: "sweeper.interval",
    flag: "sweeper-interval",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_SWEEPER_INTERVAL", "SWEEPER_INTERVAL_HOURS"],
    help: "How often the fleet sweeps by itself, besides at each start; a bare number counts hours. 0: never.",
    schema: spanOf("h", "0s", "365d"),
    default: "6h",
  }),
  sweeperGraceMs: setting({
    key: "sweeper.grace",
    flag: "sweeper-grace",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_SWEEPER_GRACE"],
    help: "A session is dropped when its subject was seen closed twice, at least this long apart.",
    schema: span("0s", "30d"),
    default: "10m",
  }),
  sweeperMaxAgeMs: setting({
    key: "sweeper.max_age",
    flag: "sweeper-max-age",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_SWEEPER_MAX_AGE", "MAX_AGE_DAYS"],
    help: "A session without a live lease, or a parked workspace, is dropped after this long without activity, whatever its forge says; a bare number counts days.",
    schema: spanOf("d", "1h", "3650d"),
    default: "30d",
  }),
  sweeperOrphanAgeMs: setting({
    key: "sweeper.orphan_age",
    flag: "sweeper-orphan-age",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_SWEEPER_ORPHAN_AGE"],
    help: "How long a parked workspace stays that has neither a session nor an open subject.",
    schema: span("0s", "365d"),
    default: "24h",
  }),
} as const;
