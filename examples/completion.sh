#!/bin/sh
# Completion of options, verbs and choices, for all commands at once. Put what it prints where your
# shell looks for it:
#   completion.sh bash > /etc/bash_completion.d/mailtools
#   completion.sh zsh > ~/.mailtools.zsh     and in ~/.zshrc, behind compinit: . ~/.mailtools.zsh
#   completion.sh fish > ~/.config/fish/conf.d/mailtools.fish
set -eu
shell=${1-bash}
case $shell in
bash | zsh | fish) ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 64 ;;
esac
for command in smtpd-accept queue-run relay-send pipe-deliver local-deliver pop3d imapd mailq \
    newaliases queue-list queue-edit mail-check mail-route mail-why mail-account mail-dkim \
    mail-sts report-send report-read maildir-check mail-checkpassword; do
    name=$(echo "$command" | tr a-z- A-Z_)
    env "_${name}_COMPLETE=${shell}_source" "$command"
done
