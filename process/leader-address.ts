import { HEADERS } from '../contracts/headers.ts';

/** Whom the certificate of every controller is for, at whatever address it is called. */
export const CONTROLLER_SERVERNAME = 'pilotlight-controller';

/** The part of an answer that may name the leader. */
export interface NamingAnswer {
  statusCode?: number | undefined;
  headers: Readonly<Record<string, string | string[] | undefined>>;
}

/**
 * Which controller to call: any of them at first, by the address that was configured ("home": a Service), and
 * the leader once one that doesn't lead has named it. A leader that is gone is forgotten, and home is asked
 * again. Without leaders (one controller, as on the local platform) it is home for ever.
 */
export class LeaderAddress {
  readonly #home: string;
  #current: string;

  /** @throws TypeError for what is no http: or https: URL. */
  constructor(homeUrl: string) {
    const home = parseUrl(homeUrl);
    if (home === undefined) {
      throw new TypeError(`expected an http: or https: URL of the controller, got "${homeUrl}"`);
    }
    this.#home = home.origin;
    this.#current = home.origin;
  }

  /** Origin to call now, `https://host:port`. */
  get current(): string {
    return this.#current;
  }

  /**
   * Takes in an answer of `asked`. A name in another protocol is no leader's: a token must not leave TLS.
   *
   * @returns whether another controller is to be called from now on.
   */
  heed(asked: string, { statusCode, headers }: NamingAnswer): boolean {
    const named = headers[HEADERS.leader];
    if (statusCode !== 503 || asked !== this.#current) return false;
    if (typeof named !== 'string') return headers[HEADERS.error] === 'not-leader' && this.leave(asked);
    const leader = parseUrl(named);
    const isLeader = leader !== undefined && leader.protocol === new URL(this.#home).protocol;
    return isLeader && this.#move(leader.origin);
  }

  /** `asked` is gone or broken. @returns whether another controller is to be called from now on. */
  leave(asked: string): boolean {
    return asked === this.#current && this.#move(this.#home);
  }

  #move(origin: string): boolean {
    if (origin === this.#current) return false;
    this.#current = origin;
    return true;
  }
}

function parseUrl(text: string): URL | undefined {
  const url = URL.parse(text);
  return url !== null && (url.protocol === 'http:' || url.protocol === 'https:') ? url : undefined;
}
