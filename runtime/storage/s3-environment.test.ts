import { expect, test } from 'vitest';
import { s3AccessFromEnvironment } from './s3-environment.ts';

test('the variables of the AWS tools and of KServe give the access, absent and empty ones nothing', () => {
  expect(s3AccessFromEnvironment({})).toEqual({});
  expect(
    s3AccessFromEnvironment({
      AWS_ACCESS_KEY_ID: 'id',
      AWS_SECRET_ACCESS_KEY: 'secret',
      AWS_SESSION_TOKEN: '',
      AWS_DEFAULT_REGION: 'eu-central-1',
      AWS_ENDPOINT_URL: 'https://all',
      AWS_ENDPOINT_URL_S3: 'https://s3',
      S3_VERIFY_SSL: '0',
      S3_USE_VIRTUAL_BUCKET: 'True',
    }),
  ).toEqual({
    accessKeyId: 'id',
    secretAccessKey: 'secret',
    region: 'eu-central-1',
    endpoint: 'https://s3',
    verifySsl: false,
    virtualHosted: true,
  });
  expect(s3AccessFromEnvironment({ awsAnonymousCredential: 'true' })).toEqual({ anonymous: true });
});
