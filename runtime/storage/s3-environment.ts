import type { S3Access } from '../../contracts/storage-access.ts';

/**
 * S3 access from the variables that AWS tools and KServe know: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, S3_VERIFY_SSL
 * (0 or false), awsAnonymousCredential and S3_USE_VIRTUAL_BUCKET (1 or true). Empty ones count as absent.
 */
export function s3AccessFromEnvironment(env: Readonly<Record<string, string | undefined>>): S3Access {
  const first = (...names: string[]) => names.map((name) => env[name]?.trim()).find((value) => value);
  const accessKeyId = first('AWS_ACCESS_KEY_ID');
  const secretAccessKey = first('AWS_SECRET_ACCESS_KEY');
  const sessionToken = first('AWS_SESSION_TOKEN');
  const region = first('AWS_REGION', 'AWS_DEFAULT_REGION');
  const endpoint = first('AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL');
  const verifySsl = flag(first('S3_VERIFY_SSL'));
  const virtualHosted = flag(first('S3_USE_VIRTUAL_BUCKET'));
  const anonymous = flag(first('awsAnonymousCredential'));
  return {
    ...(accessKeyId === undefined ? {} : { accessKeyId }),
    ...(secretAccessKey === undefined ? {} : { secretAccessKey }),
    ...(sessionToken === undefined ? {} : { sessionToken }),
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(verifySsl === undefined ? {} : { verifySsl }),
    ...(virtualHosted === undefined ? {} : { virtualHosted }),
    ...(anonymous === undefined ? {} : { anonymous }),
  };
}

function flag(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  return text === '1' || text.toLowerCase() === 'true';
}
