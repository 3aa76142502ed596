import { constants, type Http2Session } from 'node:http2';

/** Stream numbers end there; a GOAWAY with it refuses no stream that is on its way (RFC 9113 §6.8). */
const LAST_POSSIBLE_STREAM = 2 ** 31 - 1;
/** Time for streams that were on their way to arrive, between the two GOAWAYs. */
const GOAWAY_STEP_MS = 250;

const LEAVING = new WeakSet<Http2Session>();

/** What `Connection: close` is to HTTP/1.1: the streams that are open go on, the client opens new ones elsewhere. */
export function leaveSession(session: Http2Session): void {
  if (session.closed || session.destroyed || LEAVING.has(session)) return;
  LEAVING.add(session);
  session.goaway(constants.NGHTTP2_NO_ERROR, LAST_POSSIBLE_STREAM);
  setTimeout(() => {
    if (!session.closed && !session.destroyed) session.close();
  }, GOAWAY_STEP_MS).unref();
}
