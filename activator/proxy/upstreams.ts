import type { EndpointState } from '../core/endpoint-state.ts';
import type { UpstreamProtocol, UpstreamSource } from './context.ts';
import { Http1Upstream, type Http1UpstreamOptions } from './http1-upstream.ts';
import { Http2Upstream } from './http2-upstream.ts';
import type { OutgoingRequest, Upstream, UpstreamHandler, UpstreamStream } from './upstream.ts';

interface Entry {
  http1: Upstream | undefined;
  http2: Upstream | undefined;
  speaksHttp2: boolean;
}

/** The connections to every endpoint that has been used, by the endpoint's state. */
export class Upstreams implements UpstreamSource {
  readonly #entries = new Map<EndpointState, Entry>();
  readonly #options: Http1UpstreamOptions;

  constructor(options: Http1UpstreamOptions) {
    this.#options = options;
  }

  open(
    endpoint: EndpointState,
    protocol: UpstreamProtocol,
    request: OutgoingRequest,
    handler: UpstreamHandler,
  ): UpstreamStream {
    const entry = this.#entry(endpoint);
    if (protocol === 'grpc' || (protocol === 'http2' && entry.speaksHttp2)) {
      entry.http2 ??= new Http2Upstream(endpoint.address, this.#options);
      return entry.http2.open(request, handler);
    }
    entry.http1 ??= new Http1Upstream(endpoint.address, this.#options);
    return entry.http1.open(request, handler);
  }

  noHttp2(endpoint: EndpointState): void {
    this.#entry(endpoint).speaksHttp2 = false;
  }

  /** Closes connections to endpoints that no route names any more. */
  closeUnlisted(): void {
    for (const [endpoint, entry] of this.#entries) {
      if (!endpoint.listed) this.#close(endpoint, entry);
    }
  }

  closeAll(): void {
    for (const [endpoint, entry] of this.#entries) this.#close(endpoint, entry);
  }

  #entry(endpoint: EndpointState): Entry {
    let entry = this.#entries.get(endpoint);
    if (entry === undefined) {
      entry = { http1: undefined, http2: undefined, speaksHttp2: true };
      this.#entries.set(endpoint, entry);
    }
    return entry;
  }

  #close(endpoint: EndpointState, entry: Entry): void {
    entry.http1?.close();
    entry.http2?.close();
    this.#entries.delete(endpoint);
  }
}
