import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { CONTROLLER_SERVERNAME, LeaderAddress } from '../../process/leader-address.ts';
import { rememberingLookup } from '../../process/remembering-lookup.ts';

/** The network of a cluster answers within milliseconds; a node that is gone answers nothing at all. */
const CONNECT_TIMEOUT_MS = 2_000;

/**
 * Which controller to call and how: kept connections, bearer token, and on to the leader when another one says
 * who that is.
 */
export interface ControlClient {
  /** Origin that a call made now goes to: the leader's once it is known, else the configured one. */
  readonly target: string;
  /** Grows each time that a controller was left: also where the next one is asked for at the same address. */
  readonly era: number;
  /** Whether a controller has answered there as a leader does, in this era. */
  readonly isConfirmed: boolean;
  /** An answer that names the leader moves the target before `onResponse` sees it. */
  request(
    method: 'GET' | 'POST',
    path: string,
    headers: Record<string, string>,
    onResponse: (response: IncomingMessage) => void,
  ): ClientRequest;
  /** The controller at `asked` is gone: whoever leads next has to be asked for, at the configured address. */
  leave(asked: string): void;
  /** Calls back each time that the target has moved, and when one is confirmed. */
  onMoved(listener: () => void): void;
  close(): void;
}

export interface ControlAccess {
  /** Asked for each call; undefined sends none. */
  token: () => string | undefined;
  /** PEM of the authority to trust; asked for each call, so that it may change. Undefined: those of the system. */
  ca?: () => string;
}

/**
 * @param controllerUrl `http://host:port` or `https://…`.
 * @throws TypeError for what is no URL.
 */
export function createControlClient(controllerUrl: string, access: ControlAccess): ControlClient {
  const leader = new LeaderAddress(controllerUrl);
  const isSecure = leader.current.startsWith('https:');
  const agents = isSecure ? new TrustingAgents(access.ca) : new HttpAgent(KEPT);
  const send = isSecure ? httpsRequest : httpRequest;
  const listeners: (() => void)[] = [];
  let era = 0;
  let isConfirmed = false;
  const begin = (): void => {
    era += 1;
    isConfirmed = false;
  };
  const moved = (hasMoved: boolean): void => {
    if (!hasMoved) return;
    begin();
    for (const listener of listeners) listener();
  };
  const confirm = (asked: string, { statusCode = 0 }: IncomingMessage): void => {
    if (isConfirmed || asked !== leader.current || statusCode >= 300) return;
    isConfirmed = true;
    for (const listener of listeners) listener();
  };
  return {
    get target() {
      return leader.current;
    },
    get era() {
      return era;
    },
    get isConfirmed() {
      return isConfirmed;
    },
    request: (method, path, headers, onResponse) => {
      const token = access.token();
      const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const agent = agents instanceof TrustingAgents ? agents.current : agents;
      const options = { method, agent, headers: { ...headers, ...authorization } };
      const asked = leader.current;
      const call = send(new URL(path, asked), options, (response) => {
        const hasMoved = leader.heed(asked, response);
        onResponse(response);
        moved(hasMoved);
        confirm(asked, response);
      });
      boundConnecting(call, isSecure ? 'secureConnect' : 'connect');
      return call;
    },
    leave: (asked) => {
      if (asked !== leader.current) return;
      // Behind the configured address there may be another one by now: whoever answers there next is new.
      if (leader.leave(asked)) moved(true);
      else begin();
    },
    onMoved: (listener) => {
      listeners.push(listener);
    },
    close: () => agents.destroy(),
  };
}

/**
 * A kept connection saves a handshake when the first request of a cold service is reported. The controllers' Service
 * stays where it is, so that a new connection takes no DNS that answers.
 */
const KEPT = { keepAlive: true, maxFreeSockets: 2, lookup: rememberingLookup() } as const;

/** The agent for the authority that is trusted now: another one once that has changed. */
class TrustingAgents {
  readonly #ca: (() => string) | undefined;
  #trusted: string | undefined;
  #agent: HttpsAgent;

  constructor(ca: (() => string) | undefined) {
    this.#ca = ca;
    this.#trusted = ca?.();
    this.#agent = this.#create();
  }

  get current(): HttpsAgent {
    const trusted = this.#ca?.();
    if (trusted === this.#trusted) return this.#agent;
    this.#trusted = trusted;
    // What is under way over the old one comes to its end; what idles there would only be closed by the other side.
    for (const sockets of Object.values(this.#agent.freeSockets)) {
      for (const socket of sockets ?? []) socket.destroy();
    }
    this.#agent = this.#create();
    return this.#agent;
  }

  destroy(): void {
    this.#agent.destroy();
  }

  /** Every controller has the same certificate, at whatever address it is called. */
  #create(): HttpsAgent {
    return this.#trusted === undefined
      ? new HttpsAgent(KEPT)
      : new HttpsAgent({ ...KEPT, ca: this.#trusted, servername: CONTROLLER_SERVERNAME });
  }
}

function boundConnecting(call: ClientRequest, connected: 'connect' | 'secureConnect'): void {
  call.once('socket', (socket: Socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(() => {
      call.destroy(new Error(`no connection within ${CONNECT_TIMEOUT_MS} ms`));
    }, CONNECT_TIMEOUT_MS);
    const stop = (): void => clearTimeout(timer);
    socket.once(connected, stop);
    call.once('close', stop);
  });
}
