import { CONTROLLER_SERVERNAME, LeaderAddress } from '../../process/leader-address.ts';

const PUSH_TIMEOUT_MS = 2_000;
/** From anybody to the leader, which may be gone, back to anybody and to the new one. */
const MAX_CALLS = 4;

/** Posts reports to the controller that leads, wherever that is by now. */
export class StatsPoster {
  readonly #controlCa: string | undefined;
  #url: string | undefined;
  #leader: LeaderAddress | undefined;

  /** @param controlCa whom to trust over https, as PEM; absent: the authorities of the system. */
  constructor(controlCa: string | undefined) {
    this.#controlCa = controlCa;
  }

  /** @throws Error when no controller took it: the status that came, or the trouble of the connection. */
  async post(url: string, token: string, body: string): Promise<void> {
    const leader = this.#leaderOf(url);
    const path = new URL(url).pathname;
    for (let calls = 1; ; calls++) {
      const asked = leader.current;
      const moved = await this.#call(new URL(path, asked), token, body).then(
        (answer) => {
          if (answer.statusCode !== undefined && answer.statusCode < 300) return undefined;
          const message = `the controller answered ${answer.statusCode}`;
          return { isMoved: leader.heed(asked, answer), error: new Error(message) };
        },
        (error: unknown) => ({ isMoved: leader.leave(asked), error }),
      );
      if (moved === undefined) return;
      if (!moved.isMoved || calls === MAX_CALLS) throw moved.error;
    }
  }

  #leaderOf(url: string): LeaderAddress {
    if (this.#leader === undefined || this.#url !== url) {
      this.#url = url;
      this.#leader = new LeaderAddress(url);
    }
    return this.#leader;
  }

  /** Over node:http: `fetch` would bring 20 ms and 6 MB of undici into every standby that becomes a replica. */
  #call(url: URL, token: string, body: string) {
    const isSecure = url.protocol === 'https:';
    const { request } = process.getBuiltinModule(isSecure ? 'node:https' : 'node:http');
    const trust =
      this.#controlCa === undefined ? {} : { ca: this.#controlCa, servername: CONTROLLER_SERVERNAME };
    return new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
      const call = request(
        url,
        {
          method: 'POST',
          headers: {
            authorization: `Bearer ${token}`,
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
          },
          signal: AbortSignal.timeout(PUSH_TIMEOUT_MS),
          ...(isSecure ? trust : {}),
        },
        (response) => {
          response.resume();
          response.once('end', () => resolve(response));
          response.once('error', reject);
        },
      );
      call.once('error', reject);
      call.end(body);
    });
  }
}
