/** Names of the HTTP headers that components add. Lower case, as Node compares them. */
export const HEADERS = {
  /** Stable error code of a refusal, see `ERROR_STATUS`. Sent to callers. */
  error: 'pilotlight-error',
  /** UID of the service that a request is for: activator to runtime. A runtime that holds another one answers 421. */
  serviceUid: 'pilotlight-service-uid',
  /** Revision that a request is for: activator to runtime. */
  revision: 'pilotlight-revision',
  /** Instance id of the activator that a request came through, so that its demand is counted once. */
  proxiedBy: 'pilotlight-proxied-by',
  /** Where the leader's API is, `https://host:port`: with 503 `not-leader` from a controller that doesn't lead and knows who does. */
  leader: 'pilotlight-leader',
} as const;
