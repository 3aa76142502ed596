import { InvalidModelUriError } from './errors.ts';

/** A blob, or all blobs below a path, of an Azure storage account. */
export interface AzureLocation {
  account: string;
  /** `blob.core.windows.net`, or that of another Azure cloud. */
  hostSuffix: string;
  container: string;
  /** The blob's name; '' for the whole container. */
  path: string;
}

/** Public, China, US government. */
const CLOUDS = 'core\\.(?:windows\\.net|chinacloudapi\\.cn|usgovcloudapi\\.net)';
const BLOB_HOST = new RegExp(`^([a-z0-9]{3,24})\\.(blob\\.${CLOUDS})$`, 'i');
const FILE_SYSTEM = new RegExp(
  `^(?:abfs|wasb)s?://([^/@]+)@([a-z0-9]{3,24})\\.(?:dfs|blob)\\.(${CLOUDS})(?:/(.*))?$`,
  'i',
);
/** Lower-case letters, digits and single hyphens; `$root` and `$web` are Azure's own. */
const CONTAINER = /^(?:[a-z0-9](?:-?[a-z0-9]){2,62}|\$root|\$web)$/;

/**
 * `https://<account>.blob.core.windows.net/<container>/<path>`, as KServe writes it. Undefined for anything else,
 * also for such a URL with a query: one that carries its own signature names one blob and is fetched as it is.
 */
export function azureBlob(text: string, shown: string): AzureLocation | undefined {
  const url = URL.parse(text);
  const host = BLOB_HOST.exec(url?.hostname ?? '');
  if (url === null || host === null || url.search !== '' || url.username !== '' || url.port !== '')
    return undefined;
  const [account = '', hostSuffix = ''] = host.slice(1);
  let path: string;
  try {
    path = decodeURIComponent(url.pathname).slice(1);
  } catch (cause) {
    throw new InvalidModelUriError(`storageUri ${shown} is not percent-encoded as a URL is`, { cause });
  }
  if (url.hash !== '') {
    throw new InvalidModelUriError(
      `storageUri ${shown}: the only fragment understood is #sha256=<64 hex digits>`,
    );
  }
  const slash = path.indexOf('/');
  const container = slash === -1 ? path : path.slice(0, slash);
  return checked({ account, hostSuffix, container, path: slash === -1 ? '' : path.slice(slash + 1) }, shown);
}

/** `abfss://<container>@<account>.dfs.core.windows.net/<path>` and its older forms; the path is taken literally. */
export function azureFileSystem(text: string, shown: string): AzureLocation {
  const match = FILE_SYSTEM.exec(text);
  if (match === null) {
    throw new InvalidModelUriError(
      `storageUri ${shown}: expected abfss://container@account.dfs.core.windows.net/path`,
    );
  }
  const [container = '', account = '', cloud = '', path = ''] = match.slice(1);
  return checked({ account, hostSuffix: `blob.${cloud}`, container, path }, shown);
}

function checked(location: AzureLocation, shown: string): AzureLocation {
  if (!CONTAINER.test(location.container)) {
    throw new InvalidModelUriError(
      `storageUri ${shown}: "${location.container}" is no name of an Azure container; expected https://account.blob.core.windows.net/container/path`,
    );
  }
  if (location.path.split('/').some((segment, index, all) => isOdd(segment, index === all.length - 1))) {
    throw new InvalidModelUriError(`storageUri ${shown}: the path has an empty, "." or ".." segment`);
  }
  return {
    ...location,
    account: location.account.toLowerCase(),
    hostSuffix: location.hostSuffix.toLowerCase(),
  };
}

/** The last one is empty where the path ends in a slash. */
function isOdd(segment: string, isLast: boolean): boolean {
  return segment === '.' || segment === '..' || (segment === '' && !isLast);
}
