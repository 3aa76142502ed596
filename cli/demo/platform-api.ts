import { type ColdStart, coldStartSchema } from '../../contracts/cold-start.ts';
import {
  API_PATHS,
  listOf,
  type ReplicaView,
  replicaViewSchema,
  type ServiceView,
} from '../../contracts/console.ts';
import { readServices } from '../commands/status.ts';
import { CommandFailure } from '../failure.ts';
import { call } from '../http.ts';

const TIMEOUT_MS = 5_000;
const POLL_INTERVAL_MS = 50;

/** The platform's JSON API, as the demonstration asks it. */
export class PlatformApi {
  readonly #apiUrl: string;

  constructor(apiUrl: string) {
    this.#apiUrl = apiUrl;
  }

  services(): Promise<ServiceView[]> {
    return readServices(this.#apiUrl);
  }

  async service(name: string): Promise<ServiceView | undefined> {
    return (await this.services()).find((service) => service.name === name);
  }

  /** Standbys included; they have no service. */
  async replicas(): Promise<ReplicaView[]> {
    return listOf(replicaViewSchema).parse(await this.#get(API_PATHS.replicas)).items;
  }

  /** Newest first. */
  async coldStarts(service: string): Promise<ColdStart[]> {
    const path = `${API_PATHS.coldStarts}?namespace=default&service=${service}`;
    return listOf(coldStartSchema).parse(await this.#get(path)).items;
  }

  async #get(path: string): Promise<unknown> {
    const url = `${this.#apiUrl}${path}`;
    const answer = await call({
      method: 'GET',
      url,
      timeoutMs: TIMEOUT_MS,
      hint: 'the platform has stopped answering',
    });
    if (answer.status !== 200) throw new CommandFailure(`${url} answers ${answer.status}`);
    return JSON.parse(answer.body.toString());
  }
}

/**
 * Asks again until there is an answer.
 *
 * @param look undefined: not yet.
 * @throws CommandFailure when `limitMs` have passed, saying what was waited for and what was seen last.
 */
export async function until<Result>(
  what: string,
  limitMs: number,
  look: () => Promise<Result | undefined>,
  lastSeen: () => string = () => '',
): Promise<Result> {
  const deadlineMs = performance.now() + limitMs;
  for (;;) {
    const result = await look();
    if (result !== undefined) return result;
    if (performance.now() > deadlineMs) {
      const seen = lastSeen();
      throw new CommandFailure(
        `expected ${what} within ${limitMs / 1000} s${seen === '' ? '' : `; last seen: ${seen}`}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
  }
}
