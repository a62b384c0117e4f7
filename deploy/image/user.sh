#!/bin/sh
# Makes the user that serves and the directories that it writes to: user.sh
set -eu

groupadd --gid 10001 lora-api
useradd --uid 10001 --gid 10001 --home-dir /var/lib/lora-api --no-create-home \
  --shell /usr/sbin/nologin lora-api
# Group 0 may write too: some clusters run containers under a user of their own in that group.
install --directory --owner=10001 --group=0 --mode=2770 /var/lib/lora-api
install --directory --mode=0755 /etc/lora-api
