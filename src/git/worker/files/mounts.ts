/**
 * Owns where a place of ours can be seen from: in which mount namespaces, and there under which paths.
 *
 * A container, a service with a private `/tmp`, or `unshare --mount` give their processes mounts of their own, and the
 * paths that `/proc` tells of such a process are those that hold there.
 *
 * Invariant: only texts of `/proc` are read; whether a path leads to a place follows from them alone.
 */
import { lstatSync, readFileSync, type Stats, statSync } from "node:fs";

interface Mount {
  /** `major:minor`. */
  readonly device: string;
  /** What of its file system is mounted. */
  readonly root: string;
  readonly point: string;
}

/** One of our places, by the file system that it is on. */
interface Spot {
  readonly device: string;
  readonly inner: string;
  readonly stat: Stats | undefined;
}

export class Sight {
  private readonly places: readonly string[];
  private readonly spots: readonly Spot[];
  private readonly own: readonly Mount[];
  private readonly views = new Map<string, View>();

  /** `places`: absolute paths, as this process sees them. */
  constructor(places: readonly string[]) {
    this.places = places;
    this.own = readMounts("/proc/self/mountinfo", "");
    this.spots = places.flatMap((place) => {
      const found = innerPath(this.own, place);
      return found ? [{ ...found, stat: lstatSync(place, { throwIfNoEntry: false }) }] : [];
    });
  }

  /** `namespace`: its name, as the link in `/proc/PID/ns` tells it. `root`: where the process's root link points. */
  of(process: string, namespace: string, root: string): View {
    const key = `${namespace}\0${root}`;
    let view = this.views.get(key);
    if (!view) {
      const mounts = readMounts(`${process}/mountinfo`, root === "/" ? "" : root);
      view = new View(mounts, this.spots, this.binds(this.own).map(pointOf));
      this.views.set(key, view);
    }
    return view;
  }

  /** What the namespace that this process lives in shows. */
  get ownView(): View {
    return this.of("/proc/self", "", "/");
  }

  /** Where somebody has mounted a place once more, for all to see. */
  get ownBinds(): readonly string[] {
    return this.binds(this.own).map(pointOf);
  }

  private binds(mounts: readonly Mount[]): readonly Mount[] {
    return bindsOf(mounts, this.spots).filter(({ point }) => !this.places.some((place) => isWithin(place, point)));
  }
}

/** What one namespace shows of our places. */
export class View {
  /** A place of ours is mounted here on its own: every process of the namespace can reach it. */
  readonly hasBind: boolean;
  private readonly mounts: readonly Mount[];
  private readonly spots: readonly Spot[];
  /** Under which paths the places can be, as far as one mount tells. */
  private readonly prefixes: readonly string[];

  constructor(mounts: readonly Mount[], spots: readonly Spot[], known: readonly string[]) {
    this.mounts = mounts;
    this.spots = spots;
    // one that everybody sees came with the copy of our own mounts
    this.hasBind = bindsOf(mounts, spots).some(({ point, root }) => !known.includes(point) && root !== "/");
    this.prefixes = spots.flatMap((spot) =>
      mounts.flatMap((mount) => {
        if (mount.device !== spot.device) return [];
        if (isWithin(spot.inner, mount.root)) return [joined(mount.point, below(mount.root, spot.inner))];
        return isWithin(mount.root, spot.inner) ? [mount.point] : [];
      }),
    );
  }

  /** Whether a text can hold such a path at all: cheap, for long ones. */
  mayShow(text: string): boolean {
    return this.prefixes.some((prefix) => text.includes(prefix));
  }

  /** Whether a path of this namespace is one of the places or below it. */
  shows(path: string): boolean {
    if (!this.prefixes.some((prefix) => isWithin(path, prefix))) return false;
    const found = innerPath(this.mounts, path);
    return this.spots.some((spot) => found?.device === spot.device && isWithin(found.inner, spot.inner));
  }

  /** Whether the directory behind a link of `/proc` is a place itself, whatever path the link tells. */
  isPlace(link: string, path: string): boolean {
    // a stat on a file system of somebody else might never return
    const found = innerPath(this.mounts, path);
    return this.spots.some(({ device, stat }) => {
      if (found?.device !== device || !stat) return false;
      try {
        const now = statSync(link);
        return now.dev === stat.dev && now.ino === stat.ino;
      } catch {
        return false;
      }
    });
  }
}

function bindsOf(mounts: readonly Mount[], spots: readonly Spot[]): readonly Mount[] {
  return mounts.filter(({ device, root }) =>
    spots.some((spot) => device === spot.device && isWithin(root, spot.inner)),
  );
}

function pointOf({ point }: Mount): string {
  return point;
}

/** The file system that a path is on, and where there. */
function innerPath(mounts: readonly Mount[], path: string): Pick<Spot, "device" | "inner"> | undefined {
  let best: Mount | undefined;
  // of two at one point the later one lies on top
  for (const mount of mounts)
    if (isWithin(path, mount.point) && mount.point.length >= (best?.point.length ?? 0)) best = mount;
  return best && { device: best.device, inner: joined(best.root, below(best.point, path)) };
}

function readMounts(file: string, root: string): readonly Mount[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return [];
  }
  return text.split("\n").flatMap((line) => {
    const [, , device, inner, point] = line.split(" ");
    if (device === undefined || inner === undefined || point === undefined) return [];
    return [{ device, root: unescaped(inner).replace(/\/\/deleted$/, ""), point: joined(root, unescaped(point)) }];
  });
}

/** As the kernel writes spaces, tabs, line feeds and backslashes. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_match, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function isWithin(path: string, directory: string): boolean {
  return directory === "/" || path === directory || path.startsWith(`${directory}/`);
}

/** What comes after `directory`, empty or beginning with a slash. */
function below(directory: string, path: string): string {
  return directory === "/" ? (path === "/" ? "" : path) : path.slice(directory.length);
}

function joined(directory: string, rest: string): string {
  if (directory === "/" || directory === "") return rest === "" ? "/" : rest;
  return rest === "/" ? directory : directory + rest;
}
