import { PilotlightError } from '../../contracts/errors.ts';
import type { Controller } from '../engine/create-controller.ts';

/** Of several controllers one leads; the others answer that they don't, and who does when they know. */
export type ApiState =
  | { role: 'leading'; controller: Controller }
  /** `leaderUrl`: `https://host:port` of the leader's API. */
  | { role: 'following'; leaderUrl: string | undefined };

/** Thrown for every call to a controller that doesn't lead: 503, and header `pilotlight-leader` where it is known. */
export class NotLeaderError extends PilotlightError {
  override readonly name = 'NotLeaderError';
  readonly leaderUrl: string | undefined;

  constructor(leaderUrl: string | undefined) {
    const who = leaderUrl === undefined ? 'who does is not known yet, try again' : `${leaderUrl} does`;
    super('not-leader', `this controller does not lead; ${who}`, { retryAfterSeconds: 1 });
    this.leaderUrl = leaderUrl;
  }
}

/** @throws NotLeaderError */
export function leadingController(state: ApiState): Controller {
  if (state.role === 'leading') return state.controller;
  throw new NotLeaderError(state.leaderUrl);
}
