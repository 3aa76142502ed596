import type { Carrier } from '../../contracts/routes.ts';

/**
 * How many requests this activator may have at each endpoint of a revision, when several activators carry the
 * service. All of them deal the same units in the same order, so none has to ask another one.
 *
 * - Every endpoint's units are dealt out completely, and none of them twice.
 * - A carrier gets its proportion of all units, less or more than one at each step: what an endpoint's units don't
 *   divide into goes to whoever lags behind most. 3 endpoints of 1 between two equal carriers are 2 and 1.
 * - Nobody who carries gets none while somebody has two.
 *
 * With fewer units than carriers some have none at all; those are guests, see `Dispatcher`.
 *
 * An activator that gets requests and is not among the carriers takes as much as one more of them would have. That
 * is above what there is until the controller has heard of it and all deal anew, 100 ms as a rule; our runtime lets
 * the surplus wait. Without a controller it goes on like that, which is better than not to serve.
 *
 * @param capacities Of the endpoints, in the order of the routes.
 * @param carriers Undefined or empty: nobody shares, each endpoint is there as a whole.
 */
export function sharesOf(
  capacities: readonly number[],
  carriers: readonly Carrier[] | undefined,
  self: string,
): readonly number[] {
  if (carriers === undefined || carriers.length === 0) return capacities;
  const listed = carriers.findIndex(({ activator }) => activator === self);
  if (listed !== -1) return dealOut(capacities, carriers)[listed] ?? [];
  const average = carriers.reduce((all, { parts }) => all + parts, 0) / carriers.length;
  const uninvited = { activator: self, parts: Math.max(1, Math.round(average)) };
  return dealOut(capacities, [...carriers, uninvited])[carriers.length] ?? [];
}

/** The units of each endpoint by carrier: `shares[carrier][endpoint]`. */
export function dealOut(capacities: readonly number[], carriers: readonly Carrier[]): number[][] {
  let allParts = 0;
  for (const { parts } of carriers) allParts += parts;
  const hands = carriers.map(({ parts }) => ({ parts, units: 0, share: [] as number[] }));
  let dealt = 0;
  for (const capacity of capacities) {
    let rest = capacity;
    for (const hand of hands) {
      const whole = Math.floor((capacity * hand.parts) / allParts);
      hand.share.push(whole);
      hand.units += whole;
      rest -= whole;
    }
    dealt += capacity;
    for (; rest > 0; rest--) give(furthestBehind(hands, dealt, allParts));
  }
  for (const poor of hands) if (poor.units === 0) takeFromRichest(hands, poor);
  return hands.map(({ share }) => share);
}

interface Hand {
  readonly parts: number;
  units: number;
  readonly share: number[];
}

function give(hand: Hand | undefined): void {
  if (hand === undefined) return;
  hand.units++;
  hand.share[hand.share.length - 1] = (hand.share.at(-1) ?? 0) + 1;
}

/** Whoever has least of what it should have of the units dealt so far; the first of several. */
function furthestBehind(hands: readonly Hand[], dealt: number, allParts: number): Hand | undefined {
  let furthest: Hand | undefined;
  let most = -Infinity;
  for (const hand of hands) {
    const behind = dealt * hand.parts - hand.units * allParts;
    if (behind <= most) continue;
    most = behind;
    furthest = hand;
  }
  return furthest;
}

function takeFromRichest(hands: readonly Hand[], poor: Hand): void {
  const richest = hands.reduce((most, hand) => (hand.units > most.units ? hand : most), poor);
  if (richest.units < 2) return;
  const endpoint = richest.share.indexOf(Math.max(...richest.share));
  richest.share[endpoint] = (richest.share[endpoint] ?? 0) - 1;
  poor.share[endpoint] = (poor.share[endpoint] ?? 0) + 1;
  richest.units--;
  poor.units++;
}
