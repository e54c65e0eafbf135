/** Owns the handlers of SessionService: convert, call the service, convert. */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  type ListChangesRequest,
  ListChangesRequestSchema,
  type ListSessionsRequest,
  ListSessionsRequestSchema,
  type SessionService,
} from "../../gen/leasehold/v1/session_service_pb.js";
import type { Sessions } from "../service/sessions.js";
import { callContext } from "./call.js";
import {
  fromAgent,
  fromChange,
  fromSession,
  toChangeInput,
  toSessionFilter,
  toUpdate,
} from "./convert/convert-session.js";
import { fromWorkspace } from "./convert/convert-workspace.js";
import { grantPageSize } from "./limits/page-size.js";
import { decodePageToken, encodePageToken } from "./limits/page-token.js";

export function sessionService(sessions: Sessions): ServiceImpl<typeof SessionService> {
  return {
    openSession: async ({ leaseId, leaseToken, subject, labels }, context) => {
      const opened = await sessions.open(leaseId, leaseToken, subject?.url ?? "", labels, callContext(context));
      return { session: fromSession(opened.session), reopened: opened.reopened };
    },
    attachAgent: async ({ sessionId, leaseToken, agent, backend, author }, context) => {
      const right = { sessionId, token: leaseToken };
      const who = author && { name: author.name, email: author.email };
      const attached = await sessions.attach(right, agent, backend, who, callContext(context));
      return {
        agent: fromAgent(attached.agent),
        workspace: fromWorkspace(attached.workspace),
        environment: { ...attached.environment },
        alreadyAttached: attached.alreadyAttached,
      };
    },
    updateAgent: async (request, context) => {
      const right = { sessionId: request.sessionId, token: request.leaseToken };
      return { agent: fromAgent(await sessions.update(right, request.agent, toUpdate(request), callContext(context))) };
    },
    recordChange: async ({ sessionId, leaseToken, agent, requestId, changes }, context) => {
      const input = { requestId, changes: changes.map(toChangeInput) };
      const recorded = await sessions.record({ sessionId, token: leaseToken }, agent, input, callContext(context));
      return { changes: recorded.map(fromChange) };
    },
    listChanges: (request, context) => listChanges(sessions, request, context),
    getSession: async ({ sessionId }, context) => {
      return { session: fromSession(await sessions.get(sessionId, callContext(context))) };
    },
    listSessions: (request, context) => listSessions(sessions, request, context),
    closeSession: async ({ sessionId, leaseToken, force }, context) => {
      const closed = await sessions.close(sessionId, leaseToken, force, callContext(context));
      return { session: fromSession(closed.session), alreadyClosed: closed.alreadyClosed };
    },
  };
}

async function listChanges(sessions: Sessions, request: ListChangesRequest, context: HandlerContext) {
  const start = decodePageToken(ListChangesRequestSchema, request);
  const { sessionId, agent, path } = request;
  const filter = { ...(agent && { agent }), ...(path && { path }) };
  const after = start?.after ? BigInt(start.after) : request.afterSequence;
  const input = { sessionId, filter, after, pageSize: grantPageSize(request.pageSize) };
  const { changes, more } = await sessions.changes(input, callContext(context));
  const next = { after: String(changes.at(-1)?.sequence ?? 0n), revision: 0n };
  return {
    changes: changes.map(fromChange),
    nextPageToken: more ? encodePageToken(ListChangesRequestSchema, request, next) : "",
  };
}

async function listSessions(sessions: Sessions, request: ListSessionsRequest, context: HandlerContext) {
  const after = decodePageToken(ListSessionsRequestSchema, request)?.after ?? "";
  const input = { filter: toSessionFilter(request), after, pageSize: grantPageSize(request.pageSize) };
  const { sessions: found, more } = await sessions.list(input, callContext(context));
  const next = { after: found.at(-1)?.id ?? "", revision: 0n };
  return {
    sessions: found.map(fromSession),
    nextPageToken: more && next.after ? encodePageToken(ListSessionsRequestSchema, request, next) : "",
  };
}
