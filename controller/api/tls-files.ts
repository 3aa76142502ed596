import type { Server } from 'node:https';
import type { Logger } from '../../process/logger.ts';
import { WatchedFile } from '../../process/watched-file.ts';

/** Paths of PEM files. */
export interface TlsFiles {
  certFile: string;
  keyFile: string;
}

/** A certificate is renewed days before it ends. */
const CHECK_INTERVAL_MS = 5_000;

export interface WatchedCertificate {
  cert: string;
  key: string;
  /**
   * Has the server use what the files hold, now and whenever they change. Connections that are open stay. Files
   * that don't fit together, since one is written before the other, are looked at again.
   * @returns a function that stops looking.
   */
  keepFresh(server: Server): () => void;
}

/** @throws Error when a file can't be read to begin with. */
export function readCertificate(
  { certFile, keyFile }: TlsFiles,
  logger: Logger,
  checkIntervalMs = CHECK_INTERVAL_MS,
): WatchedCertificate {
  const watched = (path: string): WatchedFile =>
    new WatchedFile(path, {
      onTrouble: (err) =>
        logger.warn({ err, path }, 'a TLS file cannot be read, serving on with what it held'),
    });
  const [certText, keyText] = [watched(certFile), watched(keyFile)];
  const inUse = { cert: certText.text, key: keyText.text };
  let refused = '';
  return {
    ...inUse,
    keepFresh: (server) => {
      const look = (): void => {
        const found = { cert: certText.text, key: keyText.text };
        const both = `${found.cert}\n${found.key}`;
        if ((found.cert === inUse.cert && found.key === inUse.key) || both === refused) return;
        try {
          server.setSecureContext(found);
          Object.assign(inUse, found);
          refused = '';
          logger.info({ certFile }, 'serving with a new certificate');
        } catch (err) {
          refused = both;
          logger.warn(
            { err, certFile, keyFile },
            'a new certificate and key do not fit, serving on with the old',
          );
        }
      };
      const timer = setInterval(look, checkIntervalMs);
      timer.unref();
      return () => clearInterval(timer);
    },
  };
}
