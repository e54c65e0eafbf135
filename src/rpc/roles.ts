/**
 * Owns which role each method needs.
 *
 * Invariants:
 * 1. A method that is not in the table needs the role `admin`.
 */
import type { DescMethod } from "@bufbuild/protobuf";
import { ServerReflection as ReflectionV1 } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ReflectionV1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { Health } from "../../gen/health/v1/health_pb.js";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import { SessionService } from "../../gen/leasehold/v1/session_service_pb.js";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Role } from "../domain/caller.js";

/** `anyone`: no credential needed. `caller`: any valid one. */
export type Access = "anyone" | "caller" | Role;

const serviceAccess: Readonly<Record<string, Access>> = {
  [Health.typeName]: "anyone",
  [ReflectionV1.typeName]: "caller",
  [ReflectionV1Alpha.typeName]: "caller",
  // each caller its own; what is an admin's alone, the service refuses
  [SessionService.typeName]: "runner",
};

const workspaceAccess: Readonly<Record<keyof typeof WorkspaceService.method, Access>> = {
  acquire: "runner",
  heartbeat: "runner",
  release: "runner",
  listActive: "runner",
  getWorkspace: "runner",
  watch: "runner",
  reclaim: "admin",
  reset: "admin",
};

/** All but these need the role `admin`. */
const adminAccess: Readonly<Partial<Record<keyof typeof AdminService.method, Access>>> = { listSalvages: "runner" };

export function accessTo(method: DescMethod): Access {
  if (method.parent.typeName === WorkspaceService.typeName) {
    return workspaceAccess[method.localName as keyof typeof workspaceAccess] ?? "admin";
  }
  if (method.parent.typeName === AdminService.typeName) {
    return adminAccess[method.localName as keyof typeof adminAccess] ?? "admin";
  }
  return serviceAccess[method.parent.typeName] ?? "admin";
}

/** Whether a caller of `role` may do what needs `access`. */
export function allows(role: Role, access: Access): boolean {
  return role === "admin" || access !== "admin";
}
