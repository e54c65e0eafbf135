/** Owns leasing a workspace without keeping the lease, and how the lease is shown. */
import { durationMs } from "@bufbuild/protobuf/wkt";
import { AcquireResponseSchema, WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Client } from "../client/index.js";
import { acquireOptions, type LeaseOptions } from "./acquire-options.js";
import { enumName } from "./arguments.js";
import { withCloneProgress } from "./clone-progress.js";
import { dependencyFacts } from "./dependency-options.js";
import { formatDuration } from "./duration.js";
import { defaultHolder } from "./holder.js";
import { type OutputOptions, printFacts, printJson } from "./output.js";

export async function acquireAndPrint(client: Client, options: LeaseOptions & OutputOptions): Promise<void> {
  const { response } = await withCloneProgress(client, options.repository, () =>
    client.acquireOnly(acquireOptions(options, defaultHolder())),
  );
  if (options.output === "json") return printJson(AcquireResponseSchema, response);
  const { lease, workspace } = response;
  printFacts([
    ["lease", lease?.leaseId ?? ""],
    ["lease token", response.leaseToken],
    ["path", workspace?.path ?? ""],
    ["host", workspace?.host ?? ""],
    ["commit", response.resolvedCommit],
    ["branch", workspace?.branch ?? ""],
    ["source", enumName(WorkspaceSource, response.source)],
    ...dependencyFacts(response),
    ["expires in", lease?.remaining === undefined ? "" : formatDuration(durationMs(lease.remaining))],
  ]);
}
