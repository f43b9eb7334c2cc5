"""Two readers and two deliverers on one Maildir, against a dict that says what must be there."""

import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mailtools.errors import NoSuchMessage
from mailtools.store.maildir import Maildir
from mailtools.store.uidlist import UidList

readers = st.integers(0, 1)
letters = st.sets(st.sampled_from("DFRSTab"), max_size=3).map("".join)


class Machine(RuleBasedStateMachine):
    uniques = Bundle("uniques")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.readers = [Maildir(f"{self.folder.name}/Maildir") for _ in range(2)]
        self.uids = [UidList(reader) for reader in self.readers]
        self.readers[0].create()
        self.flags: dict[str, set[str]] = {}
        self.content: dict[str, bytes] = {}
        self.given: dict[str, int] = {}
        self.count = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(target=uniques, reader=readers, lines=st.lists(st.binary(max_size=9), max_size=3))
    def deliver(self, reader: int, lines: list[bytes]) -> str:
        self.count += 1
        delivery = self.readers[reader].begin(f"1700000000.M{self.count}P1R1Q1")
        for line in lines:
            delivery.write(line)
        message = delivery.commit()
        self.flags[message.unique] = set()
        self.content[message.unique] = b"".join(lines)
        return message.unique

    @rule(unique=uniques, reader=readers)
    def deliver_again(self, unique: str, reader: int) -> None:
        if unique not in self.flags:
            return
        delivery = self.readers[reader].begin(unique.rpartition(".")[0])
        delivery.write(self.content[unique])
        assert delivery.commit().unique == unique

    @rule(unique=uniques, reader=readers, add=letters, remove=letters)
    def flag(self, unique: str, reader: int, add: str, remove: str) -> None:
        maildir = self.readers[reader]
        known = {message.unique: message for message in maildir._listed or maildir.messages()}
        message = known.get(unique) or maildir.find(unique)
        try:
            if message is None:
                raise NoSuchMessage
            changed = maildir.change_flags(message, add, remove)
        except NoSuchMessage:
            assert unique not in self.flags
            return
        self.flags[unique] = (self.flags[unique] | set(add)) - set(remove)
        assert set(changed.flags) == self.flags[unique]

    @rule(unique=uniques, reader=readers)
    def take(self, unique: str, reader: int) -> None:
        message = self.readers[reader].find(unique)
        if message:
            assert not self.readers[reader].take(message).new

    @rule(unique=consumes(uniques), reader=readers)
    def remove(self, unique: str, reader: int) -> None:
        maildir = self.readers[reader]
        known = {message.unique: message for message in maildir.messages()}
        if unique in known:
            # The other one may have renamed it since, or may do so now.
            assert maildir.remove(known[unique]) == (unique in self.flags)
        self.flags.pop(unique, None)

    @rule(unique=uniques, reader=readers)
    def read(self, unique: str, reader: int) -> None:
        message = self.readers[reader].find(unique)
        assert (message is not None) == (unique in self.flags)
        if message:
            with self.readers[reader].open(message) as file:
                assert file.readall() == self.content[unique]

    @rule(reader=readers)
    def give_uids(self, reader: int) -> None:
        pairs = self.uids[reader].sync(self.readers[reader].messages())
        for uid, message in pairs:
            assert self.given.setdefault(message.unique, uid) == uid
        assert len({uid for uid, _ in pairs}) == len(pairs)

    @invariant()
    def both_see_what_is_there(self) -> None:
        for reader in self.readers:
            seen = {message.unique: set(message.flags) for message in reader.messages()}
            assert seen == self.flags


TestMaildirMachine = Machine.TestCase
TestMaildirMachine.settings = settings(max_examples=60, stateful_step_count=30)
