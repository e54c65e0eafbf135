/** Owns the form of one request's limits, and the rules that several requests share. */
import type { DescMessage, Message, MessageShape } from "@bufbuild/protobuf";
import type { Subject } from "../../../gen/leasehold/v1/subject_pb.js";
import type { Author } from "../../../gen/leasehold/v1/workspace_service_pb.js";
import { type Report, type Rule, text } from "./field-rules.js";
import { decodePageToken } from "./page-token.js";

/** Rules of one request. `whole` looks at fields together, after each was looked at alone. */
export interface RequestLimits<M extends Message = Message> {
  readonly desc: DescMessage;
  readonly fields: { readonly [F in Exclude<keyof M, "$typeName" | "$unknown">]-?: Rule<M[F]> };
  readonly together?: (message: M, report: Report) => void;
}

export function limits<D extends DescMessage>(
  desc: D,
  fields: RequestLimits<MessageShape<D>>["fields"],
  together?: (message: MessageShape<D>, report: Report) => void,
): RequestLimits<MessageShape<D>> {
  return together ? { desc, fields, together } : { desc, fields };
}

/** For `together` of a list: the page token is of these filters. `form`: of the entry that it begins after. */
export function pageTokenOf<D extends DescMessage>(desc: D, form = /^/) {
  return (message: MessageShape<D> & { pageToken: string }, report: Report) => {
    const start = decodePageToken(desc, message);
    const isSound = start !== undefined && (start.after === "" || form.test(start.after));
    if (!isSound) report("page_token", "is not of a list with these filters");
  };
}

/** Whether it is one of a configured forge is the service's to say. */
export const subject: Rule<Subject | undefined> = (value, path, report) => {
  if (value) text({ max: 2048 })(value.url, `${path}.url`, report);
};

export const author: Rule<Author | undefined> = (value, path, report) => {
  if (!value) return;
  const part = text({ max: 256, required: true, fault: (t) => (/[<>]/.test(t) ? "has '<' or '>'" : undefined) });
  part(value.name, `${path}.name`, report);
  part(value.email, `${path}.email`, report);
};
