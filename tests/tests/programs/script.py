# What of Python leans on the kernel: forks, semaphores and memory in /dev/shm, threads, sockets,
# callbacks that are written at run time, a data base that locks and maps its file.
import asyncio, concurrent.futures, ctypes, multiprocessing
import sqlite3, subprocess, tempfile, venv
from multiprocessing import shared_memory


def square(n):
    return n * n


def main():
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(4) as pool:
            print(method, sum(pool.map(square, range(100))))
    queue, lock = multiprocessing.Queue(), multiprocessing.Lock()
    with lock:
        child = multiprocessing.Process(target=queue.put, args=("queued",))
        child.start()
    print(queue.get())
    child.join()

    block = shared_memory.SharedMemory(create=True, size=4096)
    block.buf[0] = 7
    other = shared_memory.SharedMemory(name=block.name)
    print("shared", other.buf[0])
    other.close()
    block.close()
    block.unlink()

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        print("threads", sum(threads.map(square, range(100))))

    data = sqlite3.connect("data")
    data.execute("pragma journal_mode=wal")
    data.execute("create table t (n)")
    data.executemany("insert into t values (?)", [(n,) for n in range(100)])
    data.commit()
    print("sqlite", *sqlite3.connect("data").execute("select sum(n) from t").fetchone())

    print("subprocess", subprocess.check_output("echo out | tr a-z A-Z", shell=True).decode().strip())

    async def talk():
        async def answer(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        said = (await reader.read()).decode().strip()
        child = await asyncio.create_subprocess_exec("echo", "child", stdout=subprocess.PIPE)
        return said, (await child.communicate())[0].decode().strip()
    print("asyncio", *asyncio.run(talk()))

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(square)
    print("ctypes", callback(12))

    with tempfile.TemporaryFile() as file:
        file.write(b"nameless")
        file.seek(0)
        print("tempfile", file.read().decode())
    venv.create("venv", symlinks=True)
    print("venv", subprocess.check_output(["venv/bin/python", "-c", "print('in it')"]).decode().strip())


if __name__ == "__main__":
    main()
