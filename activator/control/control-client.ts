import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

/** Where the controller is and how to call it: kept connections, bearer token. */
export interface ControlClient {
  request(
    method: 'GET' | 'POST',
    path: string,
    headers: Record<string, string>,
    onResponse: (response: IncomingMessage) => void,
  ): ClientRequest;
  close(): void;
}

/**
 * @param controllerUrl `http://host:port` or `https://…`.
 * @param token sent as bearer token; `undefined` sends none.
 * @throws TypeError for what is no URL.
 */
export function createControlClient(controllerUrl: string, token: string | undefined): ControlClient {
  const base = new URL(controllerUrl);
  const secure = base.protocol === 'https:';
  if (!secure && base.protocol !== 'http:') {
    throw new TypeError(`expected an http: or https: URL of the controller, got "${controllerUrl}"`);
  }
  // A kept connection saves a handshake when the first request of a cold service is reported.
  const agent = secure
    ? new HttpsAgent({ keepAlive: true, maxFreeSockets: 2 })
    : new HttpAgent({ keepAlive: true, maxFreeSockets: 2 });
  const send = secure ? httpsRequest : httpRequest;
  return {
    request: (method, path, headers, onResponse) => {
      const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const options = { method, agent, headers: { ...headers, ...authorization } };
      return send(new URL(path, base), options, onResponse);
    },
    close: () => agent.destroy(),
  };
}
