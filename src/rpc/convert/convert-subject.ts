/** Owns the conversion of subjects. */
import { create } from "@bufbuild/protobuf";
import { SubjectKind, type Subject as SubjectMessage, SubjectSchema } from "../../../gen/leasehold/v1/subject_pb.js";
import type { Subject } from "../../domain/subject.js";

export function fromSubject({ url, forge, project, kind, number }: Subject): SubjectMessage {
  return create(SubjectSchema, { url, forge, project, kind: SubjectKind[kind], number: BigInt(number) });
}
