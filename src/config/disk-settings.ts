/** Owns the settings of how full a disk may get; part of the one table of settings.ts. */
import { z } from "zod";
import { parseDiskMark } from "../domain/disk-mark.js";
import { setting } from "./setting.js";

const diskMark = z
  .preprocess((value) => (typeof value === "number" ? String(value) : value), z.string())
  .transform((text, context) => {
    const mark = parseDiskMark(text);
    if (mark) return mark;
    context.addIssue({
      code: "custom",
      message: "must be a share of the disk from 0% to 100%, or bytes such as 20GiB",
    });
    return z.NEVER;
  });

export const diskSettings = {
  diskLow: setting({
    key: "disk_low",
    flag: "disk-low",
    placeholder: "SIZE",
    environment: ["LEASEHOLD_DISK_LOW"],
    help: "Free space below which the server makes room: a share of the disk, or bytes such as 20GiB.",
    schema: diskMark,
    default: "10%",
  }),
  diskMinFree: setting({
    key: "disk_min_free",
    flag: "disk-min-free",
    placeholder: "SIZE",
    environment: ["LEASEHOLD_DISK_MIN_FREE"],
    help: "Free space below which no workspace and no mirror is made: DISK_LOW. Not above `disk_low`.",
    schema: diskMark,
    default: "5%",
  }),
} as const;
