/** An object of a manifest, as far as it is looked at here. */
export interface KnativeObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

/** In Knative's manifests an image is the Go package of its program, after this. */
const PACKAGE_PREFIX = 'ko://knative.dev/serving/cmd/';

/**
 * What is set apart from Knative's own defaults. The shortest way to zero, so that a cold start can be measured again
 * and again; how fast a pod starts does not depend on any of it.
 */
const SETTINGS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'config-autoscaler': {
    'stable-window': '6s',
    'scale-to-zero-grace-period': '1s',
    'allow-zero-initial-scale': 'true',
  },
};

/**
 * Knative's objects as they are applied: images by name, and settings. Limits of CPU are taken off, as Pilotlight has
 * none either. Its horizontal autoscalers are left out: they need the metrics server, and a run has one activator on
 * either side.
 *
 * @param images by the command's name, such as `activator`
 * @throws Error for an image that is not among them
 */
export function knativeObjects(
  objects: readonly KnativeObject[],
  images: ReadonlyMap<string, string>,
): KnativeObject[] {
  return objects
    .filter(({ kind }) => kind !== 'HorizontalPodAutoscaler')
    .map((object) => {
      const settings = object.kind === 'ConfigMap' ? SETTINGS[object.metadata.name] : undefined;
      const set = settings === undefined ? object : { ...object, data: { ...object.data, ...settings } };
      return adapted(set, images) as KnativeObject;
    });
}

/** Any value inside of an object: image names replaced, limits of CPU taken off. */
function adapted(value: unknown, images: ReadonlyMap<string, string>): unknown {
  if (typeof value === 'string') return value.startsWith(PACKAGE_PREFIX) ? imageOf(value, images) : value;
  if (Array.isArray(value)) return value.map((item) => adapted(item, images));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      name === 'resources' && isComputeResources(inner) ? withoutCpuLimit(inner) : adapted(inner, images),
    ]),
  );
}

function imageOf(goPackage: string, images: ReadonlyMap<string, string>): string {
  const command = goPackage.slice(PACKAGE_PREFIX.length);
  const image = images.get(command);
  if (image === undefined)
    throw new Error(`expected an image of ${goPackage}, have ${[...images.keys()].join(', ')}`);
  return image;
}

interface ComputeResources {
  readonly requests: Readonly<Record<string, unknown>>;
  readonly limits: Readonly<Record<string, unknown>>;
}

/** Rules of roles and webhooks have `resources` too: lists of names. */
function isComputeResources(value: unknown): value is ComputeResources {
  return typeof value === 'object' && value !== null && 'requests' in value && 'limits' in value;
}

function withoutCpuLimit({ requests, limits }: ComputeResources): object {
  const { cpu: _cpu, ...others } = limits;
  return { requests, limits: others };
}
