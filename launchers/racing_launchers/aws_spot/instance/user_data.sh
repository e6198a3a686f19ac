#!/bin/bash
# One attempt at one job of racing: packages, code, a systemd unit; at its end the instance ends itself. Holds no secret.
set -Eeuo pipefail
exec > >(tee -a /var/log/racing.log) 2>&1
shutdown -h +@MAX_MIN@ "racing: launcher.timeout_min is over" || true # dead man's switch, whatever happens below
export BUCKET='@BUCKET@' SPEC='@SPEC@' SPEC_SHA256='@SPEC_SHA256@' CODE='@CODE@' CODE_SHA256='@CODE_SHA256@'
export AWS_DEFAULT_REGION='@REGION@' BOOT_LOG='@BOOT_LOG@' GROUP='@GROUP@' HOME=/root
root=/opt/racing
mkdir -p $root/code /etc/racing

# S3 and the metadata service with what every image has: Python's standard library.
cat >$root/s3.py <<'PYTHON'
import datetime, hashlib, hmac, json, os, sys, urllib.parse, urllib.request

open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
IMDS = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")


def meta(path):
    head = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    ask = urllib.request.Request(f"{IMDS}/latest/api/token", method="PUT", headers=head)
    head = {"X-aws-ec2-metadata-token": open_url(ask, timeout=5).read().decode()}
    ask = urllib.request.Request(f"{IMDS}/latest/meta-data/{path}", headers=head)
    return open_url(ask, timeout=5).read().decode()


def ask(service, method, path, body=b""):
    """Signature version 4, as https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    role = meta("iam/security-credentials/").split()[0]
    keys = json.loads(meta("iam/security-credentials/" + role))
    region, now = os.environ["AWS_DEFAULT_REGION"], datetime.datetime.now(datetime.timezone.utc)
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    own, given = os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}"), os.environ.get("AWS_ENDPOINT_URL")
    end = own or given or f"https://{service}.{region}.{domain}"
    path = urllib.parse.quote(path)
    stamp, payload = now.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
    head = {"host": urllib.parse.urlsplit(end).netloc, "x-amz-content-sha256": payload, "x-amz-date": stamp}
    head["x-amz-security-token"] = keys["Token"]
    names = ";".join(sorted(head))
    lines = "".join(f"{name}:{head[name]}\n" for name in sorted(head))
    request = hashlib.sha256("\n".join([method, path, "", lines, names, payload]).encode()).hexdigest()
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    sign = lambda key, text: hmac.new(key, text.encode(), "sha256").digest()
    key = ("AWS4" + keys["SecretAccessKey"]).encode()
    for part in scope.split("/"):
        key = sign(key, part)
    signature = sign(key, "\n".join(["AWS4-HMAC-SHA256", stamp, scope, request])).hex()
    who = f"AWS4-HMAC-SHA256 Credential={keys['AccessKeyId']}/{scope}, SignedHeaders={names}, Signature={signature}"
    kind = "application/x-www-form-urlencoded" if method == "POST" else "application/octet-stream"
    head |= {"authorization": who, "content-type": kind}
    ask = urllib.request.Request(end + path, method=method, headers=head, data=None if method == "GET" else body)
    return open_url(ask, timeout=300).read()


what, name = sys.argv[1:3]
if what == "meta":
    print(meta(name))
elif what == "get":
    sys.stdout.buffer.write(ask("s3", "GET", f"/{os.environ['BUCKET']}/{name}"))
elif what == "end":  # an Auto Scaling group
    wish = {"Action": "SetDesiredCapacity", "AutoScalingGroupName": name, "DesiredCapacity": 0, "Version": "2011-01-01"}
    ask("autoscaling", "POST", "/", urllib.parse.urlencode(wish).encode())
else:
    ask("s3", "PUT", f"/{os.environ['BUCKET']}/{name}", open(sys.argv[3], "rb").read()[-100_000:])
PYTHON

failed() { # tell who submitted it why, and end
  echo "racing: the instance could not be set up, line $1"
  trap - ERR
  if [ -n "$GROUP" ] && python3 $root/s3.py get "$BOOT_LOG" >/dev/null 2>&1; then
    python3 $root/s3.py end "$GROUP" || true # the one before could not, either: no other is launched
  fi
  python3 $root/s3.py put "$BOOT_LOG" /var/log/racing.log || true
  shutdown -h now
  exit 1
}
trap 'failed $LINENO' ERR

instance=$(python3 $root/s3.py meta instance-id)
kind=$(python3 $root/s3.py meta instance-type)
echo "racing: $instance, $kind"
python3 $root/s3.py get "$CODE" >$root/code.tar.gz
echo "$CODE_SHA256  $root/code.tar.gz" | sha256sum --check --quiet
tar -xzf $root/code.tar.gz -C $root/code --no-same-owner

export PATH=$PATH:/usr/local/bin UV_PYTHON_INSTALL_DIR=$root/python UV_CACHE_DIR=$root/uv-cache
command -v uv >/dev/null ||
  curl -LsSf --retry 5 https://astral.sh/uv/@UV@/install.sh | env UV_INSTALL_DIR=/usr/local/bin UV_NO_MODIFY_PATH=1 sh
uv venv --quiet --python @PYTHON@ $root/venv
uv pip install --quiet --python $root/venv/bin/python --requirement $root/code/requirements.txt
cd $root
@SETUP@
cat >/etc/racing/job.env <<ENV
BUCKET=$BUCKET
SPEC=$SPEC
SPEC_SHA256=$SPEC_SHA256
INSTANCE_ID=$instance
INSTANCE_TYPE=$kind
AWS_DEFAULT_REGION=$AWS_DEFAULT_REGION
BOOT_LOG=$BOOT_LOG
GROUP=$GROUP
PYTHONPATH=$root/code
RACING_CACHE=$root/cache
RACING_ROOT=$root
HOME=$HOME
ENV

cat >/etc/systemd/system/racing-job.service <<'UNIT'
[Unit]
Description=One attempt at one job of racing
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=600
StartLimitBurst=3
StartLimitAction=poweroff

[Service]
Type=simple
EnvironmentFile=/etc/racing/job.env
WorkingDirectory=/opt/racing
ExecStart=/opt/racing/venv/bin/python -P -m racing_launchers.aws_spot.instance.worker
Restart=on-failure
RestartPreventExitStatus=75 3
SuccessExitStatus=75 3
RestartSec=5
TimeoutStopSec=110
KillMode=mixed
KillSignal=SIGTERM
ExecStopPost=+/bin/sh -c 'case "$EXIT_STATUS" in 0|3|75) shutdown -h now;; *) python3 /opt/racing/s3.py put "$BOOT_LOG" /var/log/racing.log; echo >>/opt/racing/failed; if [ -n "$GROUP" ] && [ "$(wc -l </opt/racing/failed)" -ge 3 ]; then python3 /opt/racing/s3.py end "$GROUP"; fi;; esac'
StandardOutput=append:/var/log/racing.log
StandardError=inherit

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now racing-job.service
