#!/bin/sh
# The real programs that the tests talk to, from Debian: Orthanc with DICOMweb, DCMTK, dicom3tools, Postgres, rsyslog, Chromium.
set -eu
missing=""
[ -x /usr/sbin/Orthanc ] || missing="$missing orthanc"
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing="$missing orthanc-dicomweb"
[ -e /usr/share/orthanc/plugins/libOrthancPython.so ] || missing="$missing orthanc-python"
[ -x /usr/bin/storescu ] || missing="$missing dcmtk"
[ -x /usr/bin/dciodvfy ] || missing="$missing dicom3tools"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -x /usr/sbin/rsyslogd ] || missing="$missing rsyslog"
[ -e "/usr/lib/$(uname -m)-linux-gnu/rsyslog/lmnsd_ossl.so" ] || missing="$missing rsyslog-openssl"
[ -x /usr/bin/chromium ] || missing="$missing chromium"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Not installed:$missing. The tests that need them will be skipped."
    echo "To run them all, install as root: apt-get install$missing"
    exit 0
fi

# The packages would start their servers; the tests start their own on free ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
