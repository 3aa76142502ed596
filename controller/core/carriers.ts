import type { Carrier } from '../../contracts/routes.ts';

/**
 * Which activators carry a service, and how its replicas' capacity is shared out among them. An activator carries
 * what it reports requests for, however they came to it: by the service's own address, or by an Ingress that leads
 * to all of them.
 */
export interface CarrierState {
  readonly loads: ReadonlyMap<string, CarrierLoad>;
  /** As the routes have them, by the activators' names. */
  readonly carriers: readonly Carrier[];
}

interface CarrierLoad {
  /** Requests at an activator, smoothed over its last reports. */
  readonly requests: number;
  readonly heardAtMs: number;
}

export const NO_CARRIERS: CarrierState = { loads: new Map(), carriers: [] };

/** Parts that are dealt out: fine enough for one in 16, coarse enough that noise moves nothing. */
const PARTS = 16;
/** Shares that are off by less than this are left: each change is told to all activators. */
const LEAST_CHANGE = 2;
/** Weight of one report, of ten a second: a load that has changed is believed after a second. */
const NEWS_SHARE = 0.1;
/** An activator that has had nothing for this long leaves its part to the others. */
const IDLE_AFTER_MS = 30_000;
/** Reports come each 100 ms while there are requests, so that one which has not come is a load that is gone. */
const SILENT_AFTER_MS = 1_000;

/** An activator has reported so many requests of the service, waiting or under way; a new one is dealt in at once. */
export function hearCarrier(
  state: CarrierState,
  activator: string,
  requests: number,
  nowMs: number,
): CarrierState {
  const before = state.loads.get(activator);
  const smoothed =
    before === undefined ? requests : before.requests + (requests - before.requests) * NEWS_SHARE;
  const loads = new Map(state.loads).set(activator, { requests: smoothed, heardAtMs: nowMs });
  return { loads, carriers: before === undefined ? dealParts(loads) : state.carriers };
}

/**
 * From time to time: those without requests leave while others have some, and parts follow the load.
 *
 * @param isLost Whether an activator answers no more; its part goes to the others at once.
 */
export function settleCarriers(
  state: CarrierState,
  isLost: (activator: string) => boolean,
  nowMs: number,
): CarrierState {
  if (state.loads.size === 0) return state;
  const isActive = ({ heardAtMs }: CarrierLoad): boolean => nowMs - heardAtMs < IDLE_AFTER_MS;
  const someActive = [...state.loads].some(([activator, load]) => isActive(load) && !isLost(activator));
  const loads = new Map<string, CarrierLoad>();
  for (const [activator, load] of state.loads) {
    if (isLost(activator) || (someActive && !isActive(load))) continue;
    const isSilent = nowMs - load.heardAtMs > SILENT_AFTER_MS;
    loads.set(activator, isSilent ? { ...load, requests: load.requests / 2 } : load);
  }
  const carriers = dealParts(loads);
  return { loads, carriers: isWorthTelling(state.carriers, carriers) ? carriers : state.carriers };
}

/** 16 parts, or one each where there are more activators, in proportion to their requests, none without one. */
function dealParts(loads: CarrierState['loads']): Carrier[] {
  const names = [...loads.keys()].sort();
  const all = [...loads.values()].reduce((total, { requests }) => total + requests, 0);
  const free = Math.max(0, PARTS - names.length);
  const fair = names.map((activator) => {
    const proportion = all > 0 ? (loads.get(activator)?.requests ?? 0) / all : 1 / names.length;
    return { activator, exact: 1 + free * proportion };
  });
  const carriers = fair.map(({ activator, exact }) => ({ activator, parts: Math.floor(exact) }));
  let left = names.length + free - carriers.reduce((total, { parts }) => total + parts, 0);
  const byRest = [...fair.keys()].sort((one, other) => restOf(fair[other]) - restOf(fair[one]));
  for (const index of byRest) {
    const carrier = carriers[index];
    if (left <= 0 || carrier === undefined) break;
    carrier.parts++;
    left--;
  }
  return carriers;
}

function restOf(fair: { exact: number } | undefined): number {
  return fair === undefined ? 0 : fair.exact % 1;
}

function isWorthTelling(before: readonly Carrier[], now: readonly Carrier[]): boolean {
  if (before.length !== now.length) return true;
  return now.some(({ activator, parts }, index) => {
    const old = before[index];
    return old?.activator !== activator || Math.abs(old.parts - parts) >= LEAST_CHANGE;
  });
}
