/** Owns the handlers of AdminService: convert, call the service, convert. */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  type AdminService,
  type ListHostsRequest,
  ListHostsRequestSchema,
  type ListRepositoriesRequest,
  ListRepositoriesRequestSchema,
  type ListSalvagesRequest,
  ListSalvagesRequestSchema,
} from "../../gen/leasehold/v1/admin_service_pb.js";
import type { Repository } from "../../gen/leasehold/v1/repository_pb.js";
import type { Administration } from "../service/services.js";
import { callContext } from "./call.js";
import { fromOverview, toChanges, toSettings } from "./convert/convert-repository.js";
import { fromSalvage, toSalvageFilter } from "./convert/convert-salvage.js";
import { fromHost, fromServerInfo } from "./convert/convert-server.js";
import { fromSwept } from "./convert/convert-sweep.js";
import { fromHostUsage } from "./convert/convert-usage.js";
import { fromVerifyResult } from "./convert/convert-verification.js";
import { grantPageSize } from "./limits/page-size.js";
import { decodePageToken, encodePageToken } from "./limits/page-token.js";

export function adminService(administration: Administration): ServiceImpl<typeof AdminService> {
  return {
    registerRepository: async ({ repository }, context) => {
      const asked = given(repository);
      const overview = await administration.registerRepository(asked.name, toSettings(asked), callContext(context));
      return { repository: fromOverview(overview) };
    },
    updateRepository: async ({ name, repository, updateMask }, context) => {
      const changes = toChanges(given(repository), updateMask?.paths ?? []);
      return { repository: fromOverview(await administration.updateRepository(name, changes, callContext(context))) };
    },
    listRepositories: (request, context) => listRepositories(administration, request, context),
    removeRepository: async ({ name, force }, context) => {
      await administration.removeRepository(name, force, callContext(context));
      return {};
    },
    refreshMirror: async ({ repository }, context) => {
      const { overview, changed } = await administration.refreshMirror(repository, callContext(context));
      return { repository: fromOverview(overview), changed };
    },
    verifyWorkspaces: async ({ repository, host, workspaceIds }, context) => {
      const input = { repository, host, workspaceIds };
      const results = await administration.verifyWorkspaces(input, callContext(context));
      return { results: results.map(fromVerifyResult) };
    },
    sweep: async ({ dryRun }, context) => {
      const { report, joined } = await administration.sweep(dryRun, callContext(context));
      return fromSwept(report, joined);
    },
    listSalvages: (request, context) => listSalvages(administration, request, context),
    discardSalvage: async ({ salvageId }, context) => {
      await administration.discardSalvage(salvageId, callContext(context));
      return {};
    },
    listHosts: (request, context) => listHosts(administration, request, context),
    removeHost: async ({ name, force }, context) => {
      await administration.removeHost(name, force, callContext(context));
      return {};
    },
    getUsage: async ({ host, includeWorkspaces }, context) => {
      const hosts = await administration.usage(host, includeWorkspaces, callContext(context));
      return { hosts: hosts.map(fromHostUsage) };
    },
    getServerInfo: async (_request, context) => fromServerInfo(await administration.serverInfo(callContext(context))),
  };
}

/** What `field-limits.ts` requires. */
function given(repository: Repository | undefined): Repository {
  if (!repository) throw new Error("a request without a repository passed the checks");
  return repository;
}

async function listRepositories(
  administration: Administration,
  request: ListRepositoriesRequest,
  context: HandlerContext,
) {
  const after = decodePageToken(ListRepositoriesRequestSchema, request)?.after ?? "";
  const { labels, name } = request;
  const input = { after, pageSize: grantPageSize(request.pageSize), labels, name };
  const { repositories, more } = await administration.listRepositories(input, callContext(context));
  const last = repositories.at(-1);
  const next = { after: last?.repository.name ?? "", revision: 0n };
  return {
    repositories: repositories.map(fromOverview),
    nextPageToken: more && last ? encodePageToken(ListRepositoriesRequestSchema, request, next) : "",
  };
}

async function listSalvages(administration: Administration, request: ListSalvagesRequest, context: HandlerContext) {
  const start = decodePageToken(ListSalvagesRequestSchema, request) ?? { after: "", revision: 0n };
  const input = { filter: toSalvageFilter(request), after: start.after, pageSize: grantPageSize(request.pageSize) };
  const list = await administration.listSalvages(input, callContext(context));
  const revision = start.after === "" ? list.revision : start.revision;
  const next = { after: list.salvages.at(-1)?.salvageId ?? "", revision };
  return {
    salvages: list.salvages.map(fromSalvage),
    nextPageToken: list.more && next.after ? encodePageToken(ListSalvagesRequestSchema, request, next) : "",
    revision,
  };
}

async function listHosts(administration: Administration, request: ListHostsRequest, context: HandlerContext) {
  const after = decodePageToken(ListHostsRequestSchema, request)?.after ?? "";
  const input = { after, pageSize: grantPageSize(request.pageSize) };
  const { hosts, more } = await administration.listHosts(input, callContext(context));
  const last = hosts.at(-1);
  const next = { after: last?.name ?? "", revision: 0n };
  return {
    hosts: hosts.map(fromHost),
    nextPageToken: more && last ? encodePageToken(ListHostsRequestSchema, request, next) : "",
  };
}
