"""What readers of changes are told of their connection."""

from longrun.store.follow import Follower

NOBODY = "unix:///nobody/listens/here.sock"


async def test_a_reader_that_did_not_wait_for_its_channel_is_told_when_it_is_there() -> None:
    follower = Follower(NOBODY)
    try:
        async with follower.listen("note:a") as listener:
            # The server is away: nothing is confirmed in time, and the reader has read the store meanwhile.
            assert await listener.wait(0) == []
            follower._take("subscribe", b"note:a", b"")
            assert await listener.wait(1) == [b"reconnected"]
            follower._take("message", b"note:a", b"done")
            assert await listener.wait(1) == [b"done"]
    finally:
        await follower.close()


async def test_a_second_confirmation_says_that_something_may_have_been_missed() -> None:
    follower = Follower(NOBODY)
    try:
        async with follower.listen("note:a") as listener:
            follower._take("subscribe", b"note:a", b"")
            await listener.wait(0)
            follower._take("subscribe", b"note:a", b"")
            assert await listener.wait(1) == [b"reconnected"]
    finally:
        await follower.close()
