/** Owns `leasehold watch`: prints changes as they happen. */
import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { type Event, EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type WatchResponse, WatchResponseSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { WatchItem } from "../client/index.js";
import { collectEnum, enumName, enumNames, parsePosition } from "./arguments.js";
import { type ConnectionOptions, withClient, withConnection } from "./connection.js";
import {
  changingNotice,
  notice,
  type OutputOptions,
  print,
  printable,
  printJson,
  shortCommit,
  withOutput,
} from "./output.js";

interface WatchFlags extends ConnectionOptions, OutputOptions {
  readonly repository?: string;
  readonly holder?: string;
  readonly host?: string;
  readonly workspace?: string;
  readonly lease?: string;
  readonly kind?: (keyof typeof EventKind)[];
  readonly fromRevision?: bigint;
  readonly storeId?: string;
  readonly snapshot?: boolean;
  readonly untilNow?: boolean;
}

export function addWatch(program: Command): void {
  const command = program
    .command("watch")
    .description("print changes as they happen, and go on after every break without missing or repeating one");
  withOutput(withConnection(command))
    .option("-r, --repository <name>", "only this repository's")
    .option("--holder <text>", "only events of leases of this holder")
    .option("--host <name>", "only this host's")
    .option("--workspace <id>", "only this workspace's")
    .option("--lease <id>", "only this lease's")
    .option(
      "--kind <kind>",
      `only this kind: ${enumNames(EventKind).join(", ")}; may be repeated`,
      collectEnum(EventKind, "EVENT_KIND_"),
    )
    .option("--from-revision <revision>", "begin with this revision: the last one seen + 1", parsePosition)
    .option("--store-id <id>", "the store that --from-revision is of; another one is an error")
    .option("--snapshot", "print the workspaces that match first")
    .option("--until-now", "end with the newest event of now")
    .action(async (options: WatchFlags) => {
      await withClient(options, async (client) => {
        const optional = {
          repository: options.repository,
          holder: options.holder,
          host: options.host,
          workspaceId: options.workspace,
          leaseId: options.lease,
          kinds: options.kind,
          fromRevision: options.fromRevision,
          storeId: options.storeId,
          includeSnapshot: options.snapshot,
          untilNow: options.untilNow,
        };
        const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
        const broken = changingNotice();
        const onRetry = (error: Error) => broken(`${error.message}; going on where it broke off`);
        for await (const item of client.watch({ ...given, connectMs: 0, onRetry })) {
          options.output === "json" ? printLine(item) : printText(item);
        }
      });
    });
}

/** One line of JSON: a WatchResponse, or `{"restart": {"reason": …}}`. */
function printLine(item: WatchItem): void {
  if (item.type === "restart") return print(JSON.stringify({ restart: { reason: item.reason } }));
  const { revision, storeId } = item;
  printJson(WatchResponseSchema, create(WatchResponseSchema, { revision, storeId, item: caseOf(item) }), 0);
}

function caseOf(item: Exclude<WatchItem, { type: "restart" }>): WatchResponse["item"] {
  const { item: value } = create(WatchResponseSchema, {
    item:
      item.type === "snapshot"
        ? { case: "snapshot", value: item.workspace }
        : item.type === "event"
          ? { case: "event", value: item.event }
          : item.type === "snapshotEnd"
            ? { case: "snapshotEnd", value: { workspaces: item.workspaces } }
            : { case: "bookmark", value: {} },
  });
  return value;
}

function printText(item: WatchItem): void {
  switch (item.type) {
    case "snapshot": {
      const { workspaceId, repository, state, lease, commit } = item.workspace;
      const facts = [
        workspaceId,
        enumName(WorkspaceState, state),
        repository,
        shortCommit(commit),
        lease?.holder ?? "",
      ];
      return print(printable(["snapshot", ...facts].filter((fact) => fact !== "").join("  ")));
    }
    case "event":
      return print(eventText(item.event));
    case "restart":
      return notice(`the stream begins anew (${item.reason}): forget what it has told so far`);
    default:
      return;
  }
}

function eventText(event: Event): string {
  const time = event.eventTime === undefined ? "" : timestampDate(event.eventTime).toISOString();
  const states = [event.previousState, event.state]
    .filter((state) => state !== WorkspaceState.UNSPECIFIED)
    .map((state) => enumName(WorkspaceState, state))
    .join(">");
  const reason = event.reason === LeaseEndReason.UNSPECIFIED ? "" : enumName(LeaseEndReason, event.reason);
  const facts = [
    String(event.revision).padStart(6),
    time,
    enumName(EventKind, event.kind).padEnd(20),
    event.leaseId || event.workspaceId || event.repository || event.host,
    event.workspaceId === "" ? "" : event.repository,
    states,
    reason,
    event.holder,
    event.detail,
  ];
  return printable(facts.filter((fact) => fact !== "").join("  "));
}
