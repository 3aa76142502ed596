import { API_GROUP } from '../../../../crds/inference-service.ts';
import { canonicalJson } from '../../../../crds/revision-spec.ts';
import type { KubeObject, OwnerReference } from '../api/wire.ts';

/**
 * Whether an object that we own is as we want it, in the fields that are ours. What others may add (labels, owner
 * references, a nodePort, fields that the API server fills in) is left alone; what leads traffic elsewhere (a
 * selector) is not.
 */

type Json = unknown;
type JsonObject = Record<string, Json>;

/** The part of an object's spec that is ours, by kind; a field that is absent in it is to be absent there. */
const MANAGED: Readonly<Record<string, (object: JsonObject) => JsonObject>> = {
  Service: (object) => {
    const spec = asObject(object['spec']);
    return {
      spec: {
        type: spec['type'],
        // Any selector would have the cluster's own controller write slices beside ours.
        selector: nonEmpty(spec['selector']),
        externalName: spec['externalName'],
        ports: asArray(spec['ports']).map((port) => pick(port, ['name', 'port', 'targetPort', 'protocol'])),
      },
    };
  },
  EndpointSlice: (object) => ({
    // `null` for an empty list is what the API server makes of it.
    endpoints: asArray(object['endpoints']),
    ports: asArray(object['ports']).map((port) => pick(port, ['name', 'port', 'protocol'])),
  }),
  PodDisruptionBudget: (object) => {
    const spec = asObject(object['spec']);
    return { spec: pick(spec, ['minAvailable', 'maxUnavailable', 'selector', 'unhealthyPodEvictionPolicy']) };
  },
  // `data` can't be changed once it is written.
  ControllerRevision: (object) => ({ revision: object['revision'] }),
};

/**
 * The merge patch (`application/merge-patch+json`) that makes an observed object as it is wanted, or undefined when
 * it is so already and nothing need be written.
 *
 * @throws TypeError for a kind that is not one of those that the controller owns.
 */
export function correction(observed: KubeObject, wanted: KubeObject): JsonObject | undefined {
  const managed = MANAGED[wanted.kind ?? ''];
  if (managed === undefined) throw new TypeError(`objects of kind ${wanted.kind} are not compared`);
  const patch = {
    ...mergePatch(managed(observed as JsonObject), managed(wanted as JsonObject)),
    ...metadataPatch(observed, wanted),
  };
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function metadataPatch(observed: KubeObject, wanted: KubeObject): { metadata?: JsonObject } {
  const has = observed.metadata ?? {};
  const wants = wanted.metadata ?? {};
  const metadata = {
    ...mapPatch('labels', has.labels, wants.labels),
    ...mapPatch('annotations', has.annotations, wants.annotations),
    ...ownersPatch(has.ownerReferences ?? [], wants.ownerReferences ?? []),
  };
  return Object.keys(metadata).length === 0 ? {} : { metadata };
}

type Texts = Readonly<Record<string, string>>;

function mapPatch(field: string, has: Texts = {}, wants: Texts = {}): JsonObject {
  const patch: JsonObject = {};
  for (const [key, value] of Object.entries(wants)) if (has[key] !== value) patch[key] = value;
  // Keys of our own group that are not wanted any more; others' keys are theirs.
  for (const key of Object.keys(has)) {
    if (key.startsWith(`${API_GROUP}/`) && wants[key] === undefined) patch[key] = null;
  }
  return Object.keys(patch).length === 0 ? {} : { [field]: patch };
}

/** Our references as they are wanted, others' kept as long as they don't say that they control the object. */
function ownersPatch(has: readonly OwnerReference[], wants: readonly OwnerReference[]): JsonObject {
  const ours = new Set(wants.map(({ uid }) => uid));
  const others = has.filter(({ uid, controller }) => !ours.has(uid) && controller !== true);
  const found = has.filter(({ uid, controller }) => ours.has(uid) || controller === true);
  if (canonicalJson(found) === canonicalJson(wants)) return {};
  return { ownerReferences: [...others, ...wants] };
}

/** What turns `from` into `to` by RFC 7396: objects field by field, all else as a whole, null for what goes. */
function mergePatch(from: JsonObject, to: JsonObject): JsonObject {
  const patch: JsonObject = {};
  for (const key of new Set([...Object.keys(from), ...Object.keys(to)])) {
    const [before, after] = [from[key], to[key]];
    if (canonicalJson(before ?? null) === canonicalJson(after ?? null)) continue;
    if (after === undefined) patch[key] = null;
    else if (isObject(before) && isObject(after)) patch[key] = mergePatch(before, after);
    else patch[key] = after;
  }
  return patch;
}

function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asObject(value: Json): JsonObject {
  return isObject(value) ? value : {};
}

function asArray(value: Json): Json[] {
  return Array.isArray(value) ? value : [];
}

function nonEmpty(value: Json): Json {
  return isObject(value) && Object.keys(value).length > 0 ? value : undefined;
}

function pick(value: Json, names: readonly string[]): JsonObject {
  const from = asObject(value);
  return Object.fromEntries(
    names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]),
  );
}
